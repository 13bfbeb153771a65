"""Reconstructor ``deep3d``: Basel face model coefficients estimated by ResNet-50."""
