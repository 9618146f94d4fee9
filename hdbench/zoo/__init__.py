"""Published models: what is known of each, its files fetched and verified from anywhere, and published again."""
