"""InstructPix2Pix on windows of images that look at one anchor: loading, sampling, windows, key frames."""
