"""Results as one self-contained HTML page: figures, charts and texts, and the page that holds them."""
