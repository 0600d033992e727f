"""Storage on a disk or an object store: filesystems, options, errors."""
