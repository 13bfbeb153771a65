"""Networks that training needs and inference does not: feature extractors, the lip-sync expert and discriminators."""
