"""The device side: an HTTP agent that stores model files, measures them and serves them."""
