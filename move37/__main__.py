"""`python -m move37` is `move37`."""

from move37.cli import main

if __name__ == "__main__":
    main()
