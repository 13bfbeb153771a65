"""What the lips are told by: mel spectrogram, mel windows, voice activity, and the track that serves them."""
