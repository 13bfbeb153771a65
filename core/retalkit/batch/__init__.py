"""Execution of many jobs in parallel on one machine or on several: executors, scheduling and job lists."""
