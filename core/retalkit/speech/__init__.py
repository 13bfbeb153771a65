"""Features of the driving speech: mel spectrogram, mel windows and voice activity. Synthetic background noise."""
