"""Run selectune from a checkout: ``python main.py fit --config configs/quickstart.yaml --output runs/first``."""

from selectune.cli import main

if __name__ == "__main__":
    main()
