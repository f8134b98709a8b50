# Stands before the compiler: keeps a copy of what it makes as $KEEP.
"$@" || exit
until [ "$1" = -o ]; do
	shift
done
cp "$2" "$KEEP"
