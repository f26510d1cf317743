"""Order: site.py and one file a layer."""
