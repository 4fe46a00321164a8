"""The relations of the contract that join or select."""
