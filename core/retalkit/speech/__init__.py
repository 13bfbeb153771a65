"""Features of the driving speech (mel spectrogram, mel windows, voice activity) and synthetic background noise."""
