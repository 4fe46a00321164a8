"""Features of one ROI: radiomics, embeddings, and how robust they are. Arrays in, numbers out."""
