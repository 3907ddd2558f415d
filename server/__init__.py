"""The HTTP service: embeds an uploaded query and answers with ranked cross-modality matches."""
