# Stands before the compiler: keeps a copy of what it makes as $KEEP. A source that was compiled already is not compiled
# again, as that takes ten seconds in a guest; no test changes one.
source=${!#}
made=/tmp/compiled.$(printf %s "$source" | cksum | tr ' ' .)
[ -e "$made" ] || "$@" || exit
until [ "$1" = -o ]; do
	shift
done
# Others may be looking for it.
[ -e "$made" ] || { cp "$2" "$made.$$" && mv "$made.$$" "$made"; }
cp "$made" "$2"
cp "$2" "$KEEP"
