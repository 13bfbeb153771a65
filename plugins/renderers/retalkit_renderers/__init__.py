"""Expression editors, lip syncers and speech-to-mouth drivers."""
