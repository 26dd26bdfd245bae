"""Whole disks, booted in QEMU by OVMF and the real rEFInd."""
