"""What differs between two generations: of their files, found by what btrfs knows to have changed, in time that
grows with the change and not with the root."""
