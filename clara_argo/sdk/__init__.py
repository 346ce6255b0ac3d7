"""The SDK folder of Clara's first version: where its files are, and how its stages are made and deleted in them."""
