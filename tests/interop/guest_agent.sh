# Runs in the guest, started by guest_init: reads names of scripts from the console, runs each in a subshell without input,
# and ends its output with "@@status N @@end". The functions below are what the scripts are written in.

idle() { # [ARRAY]: waits until md has no resync, recovery or check to do
  local array=${1:-md0} action
  while read -r action <"/sys/block/$array/md/sync_action" 2>/dev/null; do
    [ "$action" = idle ] && return
    sleep 0.02
  done
}

check() { # has md read everything and compare parity; prints "mismatches N"
  local try
  for ((try = 0; try < 50; try++)); do # md may look after its members once more as we ask: EBUSY
    idle
    { echo check >/sys/block/md0/md/sync_action; } 2>/dev/null && break
    sleep 0.02
  done
  idle
  echo "mismatches $(</sys/block/md0/md/mismatch_cnt)"
}

assemble() { # [OPTION...] DEVICE...
  mdadm --assemble --config=none /dev/md0 "$@"
}

stop() {
  mdadm --stop --config=none /dev/md0
}

forget() { # after a test: no array is left, whatever happened
  local array
  for array in /sys/block/md*; do
    [ -e "$array" ] || continue
    mdadm --stop --config=none "/dev/${array##*/}" >/dev/null 2>&1
  done
  [ -b /dev/md0 ] || rm -f /dev/md0
}

degraded_read() { # FILE LEFT-OUT DEVICE...: reads the array without one or some members ("0 3") and compares with FILE
  local file=$1 out=" $2 " given=() slot=0 device
  shift 2
  for device; do
    [ "${out/ $slot /}" = "$out" ] && given+=("$device")
    slot=$((slot + 1))
  done
  assemble --readonly --run "${given[@]}" && cmp /dev/md0 "$file"
  local status=$?
  stop
  [ "$status" = 0 ] || { echo "degraded read without$out: failed"; return 1; }
}

write_file() { # FILE: to the array, from its beginning
  [ -b /dev/md0 ] || return 1 # dd would make a file of that name
  dd "if=$1" of=/dev/md0 bs=1M oflag=direct conv=fsync status=none
}

stty -echo -icanon -onlcr
export MDADM_NO_UDEV=1
mkdir -p /run/mdadm
# Errors that the tests bring about on purpose are not for the console; `dmesg` has them.
echo 1 >/proc/sys/kernel/printk
echo 2000000 >/proc/sys/dev/raid/speed_limit_min
echo 2000000 >/proc/sys/dev/raid/speed_limit_max
echo "@@ready"
while read -r script; do
  (set -e; . "$script") </dev/null 2>&1
  echo "@@status $? @@end"
done
