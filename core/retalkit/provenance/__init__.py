"""Content Credentials (C2PA): keys, manifests, signing and verification, and the visible disclosure label.

Signing and the label are finishers. The modules import c2pa and cryptography inside functions, because both are needed
only when a file is signed or verified.
"""
