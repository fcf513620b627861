#!/bin/sh
# nvidia-smi of a machine with two cards.
case "$1" in
*=name) printf 'NVIDIA H100 80GB HBM3\nNVIDIA L4\n' ;;
*=driver_version) printf '580.159.04\n580.159.04\n' ;;
esac
