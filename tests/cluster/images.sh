# Owns the container images of the tests, made on the spot: localhost/pause:3.10 and
# localhost/busybox:1.35 (Debian's static busybox). No registry is asked. Sourced.

images_dir() { echo "$CACHE/images-1"; }

# In a shell of its own, so that what is half made goes with it and its caller's traps stay.
make_images() (
  into=$(images_dir)
  [ ! -s "$into/busybox.tar" ] || exit 0
  mkdir -p "$CACHE"; work=$(mktemp -d "$CACHE/.images-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/pause "$work"/busybox/{bin,etc,tmp,root,home,proc,sys,dev,usr,var/run}
  cat >"$work/pause.c" <<'C'
/* Holds a pod's namespaces: reaps what is orphaned to it and leaves when told. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap);
  for (;;) pause();
}
C
  gcc -Os -static -s -o "$work/pause/pause" "$work/pause.c"
  box=$(command -v busybox)
  cp "$box" "$work/busybox/bin/busybox"
  for applet in $("$box" --list); do [ "$applet" = busybox ] || ln -s busybox "$work/busybox/bin/$applet"; done
  ln -s ../bin "$work/busybox/usr/bin"; ln -s bin "$work/busybox/sbin"; chmod 1777 "$work/busybox/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n' >"$work/busybox/etc/passwd"
  printf 'root:x:0:\nuser:x:1000:\n' >"$work/busybox/etc/group"
  python3 "$HERE/image.py" "$work/pause" localhost/pause:3.10 "$work/pause.tar" '{"Entrypoint":["/pause"],"User":"65535:65535"}'
  python3 "$HERE/image.py" "$work/busybox" localhost/busybox:1.35 "$work/busybox.tar" '{"Cmd":["sh"],"Env":["PATH=/bin"]}'
  rm -rf "$work/pause" "$work/busybox" "$work/pause.c"
  # Another run may have been quicker.
  mv -T "$work" "$into" 2>/dev/null || [ -s "$into/busybox.tar" ]
)
