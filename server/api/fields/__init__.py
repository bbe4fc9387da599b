"""What every route knows of fields alike: their names in other APIs, those that are refused, and messages."""
