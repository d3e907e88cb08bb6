"""Datasets for sequence classification: `ucr:NAME`, `listops`, `npz:PATH`."""
