# Completion of resilver for bash, made by `resilver generate`.

_resilver_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

_resilver_files() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
  compopt -o filenames 2>/dev/null
}

_resilver_scenarios() {
  _resilver_files -f
  local shipped
  shipped=$("${COMP_WORDS[0]}" list 2>/dev/null | while read -r name _ && [[ $name ]]; do echo "$name"; done)
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$shipped" -- "$current")
}

_resilver() {
  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} first=2 option= i
  COMPREPLY=()
  [[ $current == = ]] && current=  # bash takes --level=5 for three words
  if ((COMP_CWORD == 1)); then
    _resilver_words 'run list show check judge map create assemble status examine import export fail remove add re-add replace rebuild scrub wipe recreate stop bench compare volume node arbiter help --help --version'
    return
  fi
  case $command in
    help)
      ((COMP_CWORD > 2)) || _resilver_words 'run list show check judge map create assemble status examine import export fail remove add re-add replace rebuild scrub wipe recreate stop bench compare volume node arbiter'
      return ;;
    bench)
      if ((COMP_CWORD == 2)); then
        _resilver_words 'io rebuild scrub --help'
        return
      fi
      command+=" ${COMP_WORDS[2]}"
      first=3 ;;
    volume)
      if ((COMP_CWORD == 2)); then
        _resilver_words 'create status attach promote demote ack verify resync resolve recover grow adopt reid upgrade --help'
        return
      fi
      command+=" ${COMP_WORDS[2]}"
      first=3 ;;
  esac
  for ((i = first; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      =) ;;
      -?*) option=${COMP_WORDS[i]} ;;
      *)
        case "$command $option" in
          'create --devices') ;;
          'bench io --devices') ;;
          'bench rebuild --devices') ;;
          'bench scrub --devices') ;;
          'volume create --node') ;;
          'volume grow --node') ;;
          'volume reid --node') ;;
          'volume upgrade --node') ;;
          *) option= ;;
        esac ;;
    esac
  done
  if [[ $current == -* ]]; then
    case $command in
      'run') _resilver_words '--time --seed --seeds --yes --only --set --fill --out --history --work --json --quiet --wide --keep --strict-timing --help' ;;
      'list') _resilver_words '--help' ;;
      'show') _resilver_words '--help' ;;
      'check') _resilver_words '--set --help' ;;
      'judge') _resilver_words '--json --help' ;;
      'map') _resilver_words '--level --disks --chunk --layout --failed --bs --stripes --help' ;;
      'create') _resilver_words '--level --disks --size --devices --chunk --layout --spares --consistency --journal-size --journal --name --uuid --data-offset --bitmap-chunk --assume-clean --force --dry-run --help' ;;
      'assemble') _resilver_words '--force --speed-max --read-only --dry-run --update --name --uuid --help' ;;
      'status') _resilver_words '--json --test --help' ;;
      'examine') _resilver_words '--json --scan --verbose --help' ;;
      'import') _resilver_words '--offset --length --force --help' ;;
      'export') _resilver_words '--offset --length --rescue --force --help' ;;
      'fail') _resilver_words '--force --dry-run --help' ;;
      'remove') _resilver_words '--force --dry-run --help' ;;
      'add') _resilver_words '--write-mostly --size --journal --force --dry-run --help' ;;
      're-add') _resilver_words '--force --dry-run --help' ;;
      'replace') _resilver_words '--force --dry-run --help' ;;
      'rebuild') _resilver_words '--speed-max --force --help' ;;
      'scrub') _resilver_words '--repair --locate --speed-max --force --help' ;;
      'wipe') _resilver_words '--force --dry-run --help' ;;
      'recreate') _resilver_words '--guess --disks --level --chunk --layout --data-offset --help' ;;
      'stop') _resilver_words '--help' ;;
      'bench io') _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
      'bench rebuild') _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
      'bench scrub') _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
      'compare') _resilver_words '--help' ;;
      'volume create') _resilver_words '--config --node --force --help' ;;
      'volume status') _resilver_words '--config --json --help' ;;
      'volume attach') _resilver_words '--config --import --export --node --offset --length --load --rate-iops --yes-destroy-data --json --help' ;;
      'volume promote') _resilver_words '--config --force --timeout --help' ;;
      'volume demote') _resilver_words '--config --timeout --help' ;;
      'volume ack') _resilver_words '--config --timeout --help' ;;
      'volume verify') _resilver_words '--config --repair --json --help' ;;
      'volume resync') _resilver_words '--config --full --help' ;;
      'volume resolve') _resilver_words '--config --discard --help' ;;
      'volume recover') _resilver_words '--config --from --abort --json --help' ;;
      'volume grow') _resilver_words '--config --size --node --help' ;;
      'volume adopt') _resilver_words '--config --name --help' ;;
      'volume reid') _resilver_words '--config --state --node --help' ;;
      'volume upgrade') _resilver_words '--config --state --node --help' ;;
      'node') _resilver_words '--config --name --force --help' ;;
      'arbiter') _resilver_words '--state --listen --help' ;;
    esac
    return
  fi
  case "$command $option" in
    'run --time') _resilver_words 'real virtual' ;;
    'run --seed') : ;;
    'run --seeds') : ;;
    'run --only') : ;;
    'run --set') : ;;
    'run --fill') _resilver_files -f ;;
    'run --out') _resilver_files -d ;;
    'run --work') _resilver_files -d ;;
    'run '*) _resilver_scenarios ;;
    'list '*) _resilver_words '--help' ;;
    'show '*) _resilver_scenarios ;;
    'check --set') : ;;
    'check '*) _resilver_scenarios ;;
    'judge '*) _resilver_files -f ;;
    'map --level') _resilver_words '0 1 4 5 6 10' ;;
    'map --disks') : ;;
    'map --chunk') : ;;
    'map --layout') : ;;
    'map --failed') : ;;
    'map --bs') : ;;
    'map --stripes') : ;;
    'map '*) : ;;
    'create --level' | 'create -l') _resilver_words 'linear 0 1 4 5 6 10' ;;
    'create --disks' | 'create -n') : ;;
    'create --size' | 'create -z') : ;;
    'create --devices') _resilver_files -f ;;
    'create --chunk' | 'create -c') : ;;
    'create --layout' | 'create -p') : ;;
    'create --spares' | 'create -x') : ;;
    'create --consistency' | 'create -k') _resilver_words 'resync bitmap journal' ;;
    'create --journal-size') : ;;
    'create --journal') _resilver_files -f ;;
    'create --name' | 'create -N') : ;;
    'create --uuid' | 'create -u') : ;;
    'create --data-offset') : ;;
    'create --bitmap-chunk') : ;;
    'create '*) _resilver_files -d ;;
    'assemble --speed-max') : ;;
    'assemble --update') _resilver_words 'resync name uuid no-bbl force-no-bbl bbl bitmap no-bitmap devicesize layout-original layout-alternate' ;;
    'assemble --name') : ;;
    'assemble --uuid') : ;;
    'assemble '*) _resilver_files -f ;;
    'status '*) _resilver_files -f ;;
    'examine '*) _resilver_files -f ;;
    'import --offset') : ;;
    'import --length') : ;;
    'import '*) _resilver_files -f ;;
    'export --offset') : ;;
    'export --length') : ;;
    'export --rescue') _resilver_files -f ;;
    'export '*) _resilver_files -f ;;
    'fail '*) _resilver_files -f ;;
    'remove '*) _resilver_files -f ;;
    'add --size') : ;;
    'add '*) _resilver_files -f ;;
    're-add '*) _resilver_files -f ;;
    'replace '*) _resilver_files -f ;;
    'rebuild --speed-max') : ;;
    'rebuild '*) _resilver_files -f ;;
    'scrub --speed-max') : ;;
    'scrub '*) _resilver_files -f ;;
    'wipe '*) _resilver_files -f ;;
    'recreate --disks' | 'recreate -n') : ;;
    'recreate --level' | 'recreate -l') _resilver_words '0 1 4 5 6 10' ;;
    'recreate --chunk' | 'recreate -c') : ;;
    'recreate --layout') : ;;
    'recreate --data-offset') : ;;
    'recreate '*) _resilver_files -f ;;
    'stop '*) _resilver_files -f ;;
    'bench io --level') _resilver_words '0 1 4 5 6 10' ;;
    'bench io --disks') : ;;
    'bench io --chunk') : ;;
    'bench io --size') : ;;
    'bench io --consistency') _resilver_words 'none resync bitmap journal' ;;
    'bench io --lost') : ;;
    'bench io --speed-min') : ;;
    'bench io --speed-max') : ;;
    'bench io --rw') _resilver_words 'randread randwrite randrw read write' ;;
    'bench io --bs') : ;;
    'bench io --iodepth') : ;;
    'bench io --runtime') : ;;
    'bench io --rounds') : ;;
    'bench io --dir') _resilver_files -d ;;
    'bench io --devices') _resilver_files -f ;;
    'bench io --disk') _resilver_words 'hdd sata-ssd nvme ostep' ;;
    'bench io --rate-iops') : ;;
    'bench io --against') _resilver_words 'btrfs' ;;
    'bench io --sweep') : ;;
    'bench io --json') _resilver_files -f ;;
    'bench io '*) _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
    'bench rebuild --level') _resilver_words '0 1 4 5 6 10' ;;
    'bench rebuild --disks') : ;;
    'bench rebuild --chunk') : ;;
    'bench rebuild --size') : ;;
    'bench rebuild --consistency') _resilver_words 'none resync bitmap journal' ;;
    'bench rebuild --lost') : ;;
    'bench rebuild --speed-min') : ;;
    'bench rebuild --speed-max') : ;;
    'bench rebuild --rw') _resilver_words 'randread randwrite randrw read write' ;;
    'bench rebuild --bs') : ;;
    'bench rebuild --iodepth') : ;;
    'bench rebuild --runtime') : ;;
    'bench rebuild --rounds') : ;;
    'bench rebuild --dir') _resilver_files -d ;;
    'bench rebuild --devices') _resilver_files -f ;;
    'bench rebuild --disk') _resilver_words 'hdd sata-ssd nvme ostep' ;;
    'bench rebuild --rate-iops') : ;;
    'bench rebuild --against') _resilver_words 'btrfs' ;;
    'bench rebuild --sweep') : ;;
    'bench rebuild --json') _resilver_files -f ;;
    'bench rebuild '*) _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
    'bench scrub --level') _resilver_words '0 1 4 5 6 10' ;;
    'bench scrub --disks') : ;;
    'bench scrub --chunk') : ;;
    'bench scrub --size') : ;;
    'bench scrub --consistency') _resilver_words 'none resync bitmap journal' ;;
    'bench scrub --lost') : ;;
    'bench scrub --speed-min') : ;;
    'bench scrub --speed-max') : ;;
    'bench scrub --rw') _resilver_words 'randread randwrite randrw read write' ;;
    'bench scrub --bs') : ;;
    'bench scrub --iodepth') : ;;
    'bench scrub --runtime') : ;;
    'bench scrub --rounds') : ;;
    'bench scrub --dir') _resilver_files -d ;;
    'bench scrub --devices') _resilver_files -f ;;
    'bench scrub --disk') _resilver_words 'hdd sata-ssd nvme ostep' ;;
    'bench scrub --rate-iops') : ;;
    'bench scrub --against') _resilver_words 'btrfs' ;;
    'bench scrub --sweep') : ;;
    'bench scrub --json') _resilver_files -f ;;
    'bench scrub '*) _resilver_words '--level --disks --chunk --size --consistency --lost --speed-min --speed-max --rw --bs --iodepth --runtime --rounds --dir --devices --force --virtual --disk --rate-iops --against --sweep --json --help' ;;
    'compare '*) _resilver_files -f ;;
    'volume create --config') _resilver_files -f ;;
    'volume create --node') : ;;
    'volume create '*) _resilver_words '--config --node --force --help' ;;
    'volume status --config') _resilver_files -f ;;
    'volume status '*) _resilver_words '--config --json --help' ;;
    'volume attach --config') _resilver_files -f ;;
    'volume attach --import') _resilver_files -f ;;
    'volume attach --export') _resilver_files -f ;;
    'volume attach --node') : ;;
    'volume attach --offset') : ;;
    'volume attach --length') : ;;
    'volume attach --load') : ;;
    'volume attach --rate-iops') : ;;
    'volume attach '*) _resilver_words '--config --import --export --node --offset --length --load --rate-iops --yes-destroy-data --json --help' ;;
    'volume promote --config') _resilver_files -f ;;
    'volume promote --timeout') : ;;
    'volume promote '*) : ;;
    'volume demote --config') _resilver_files -f ;;
    'volume demote --timeout') : ;;
    'volume demote '*) _resilver_words '--config --timeout --help' ;;
    'volume ack --config') _resilver_files -f ;;
    'volume ack --timeout') : ;;
    'volume ack '*) _resilver_words 'async received durable quorum' ;;
    'volume verify --config') _resilver_files -f ;;
    'volume verify '*) _resilver_words '--config --repair --json --help' ;;
    'volume resync --config') _resilver_files -f ;;
    'volume resync '*) : ;;
    'volume resolve --config') _resilver_files -f ;;
    'volume resolve --discard') : ;;
    'volume resolve '*) _resilver_words '--config --discard --help' ;;
    'volume recover --config') _resilver_files -f ;;
    'volume recover --from') : ;;
    'volume recover '*) _resilver_words '--config --from --abort --json --help' ;;
    'volume grow --config') _resilver_files -f ;;
    'volume grow --size') : ;;
    'volume grow --node') : ;;
    'volume grow '*) _resilver_words '--config --size --node --help' ;;
    'volume adopt --config') _resilver_files -f ;;
    'volume adopt --name') : ;;
    'volume adopt '*) _resilver_words '--config --name --help' ;;
    'volume reid --config') _resilver_files -f ;;
    'volume reid --state') _resilver_files -f ;;
    'volume reid --node') : ;;
    'volume reid '*) _resilver_words '--config --state --node --help' ;;
    'volume upgrade --config') _resilver_files -f ;;
    'volume upgrade --state') _resilver_files -f ;;
    'volume upgrade --node') : ;;
    'volume upgrade '*) _resilver_words '--config --state --node --help' ;;
    'node --config') _resilver_files -f ;;
    'node --name') : ;;
    'node '*) _resilver_words '--config --name --force --help' ;;
    'arbiter --state') _resilver_files -f ;;
    'arbiter --listen') : ;;
    'arbiter '*) _resilver_words '--state --listen --help' ;;
  esac
}

complete -F _resilver resilver
