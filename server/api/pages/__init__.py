"""What a browser shows: the page to try searches at /, and the API page at /docs. Both work without another host."""
