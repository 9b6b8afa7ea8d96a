"""The Python around a model: sessions and threads, preprocessing, exporting."""
