"""Web page and HTTP API of Retalkit: the server, the sessions of its users, and the jobs that worker processes run.

The page is served by Gradio's server mode. The modules of the server import neither the pipeline nor media libraries,
which only the worker processes load.
"""
