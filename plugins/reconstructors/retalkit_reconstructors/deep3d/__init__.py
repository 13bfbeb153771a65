"""Reconstructor ``deep3d``: coefficients of the Basel face model, estimated by ResNet-50."""
