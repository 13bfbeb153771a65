"""Reconstructor ``deep3d``, which estimates Basel Face Model coefficients with a ResNet-50."""
