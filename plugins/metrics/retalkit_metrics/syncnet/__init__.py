"""SyncNet: do lips and sound belong together?"""
