"""A sweep as one HTML file that opens from a disk: data, page, and the scripts put together. Nothing is fetched."""
