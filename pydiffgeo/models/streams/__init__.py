"""Streams: temperature and oxygen of water that runs."""
