"""One image, one mask: decode, spacing, region, geometry."""
