"""What all enhancers share that restore a face with a network of 512 x 512 pixels."""
