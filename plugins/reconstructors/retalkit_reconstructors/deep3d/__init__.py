"""The reconstructor ``deep3d``: coefficients of the Basel face model by a residual network."""
