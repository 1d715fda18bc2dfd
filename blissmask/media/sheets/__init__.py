"""Contact sheets: what a card shows, drawn as PNG pages or as one HTML page."""
