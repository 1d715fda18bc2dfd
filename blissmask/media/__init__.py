"""The only decoders and encoders of pictures and videos in the house."""
