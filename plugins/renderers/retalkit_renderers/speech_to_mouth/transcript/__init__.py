"""Phonemisation of transcripts, alignment of the phones with the audio, and the resulting mouth motion."""
