"""The papers' attacks, one file per family; the registry imports every module of this folder."""
