function __irqmux_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __irqmux_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __irqmux_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __irqmux_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __irqmux_parse_tokens -S
    set -l unparsed_tokens (__irqmux_tokens -pc)
    switch $unparsed_tokens[1]
    case 'irqmux'
        __irqmux_parse_subcommand 0 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'doctor'
            __irqmux_parse_subcommand 0 'vectors=' 'format=' 'version' 'h/help'
        case 'devices'
            __irqmux_parse_subcommand -r 1 'open' 'no-open' 'all' 'format=' 'version' 'h/help'
        case 'info'
            __irqmux_parse_subcommand 0 'device=' 'route=' 'index=' 'format=' 'version' 'h/help'
        case 'loopback'
            __irqmux_parse_subcommand 0 'device=' 'vectors=' 'storm=' 'seed=' 'wait=' 'format=' 'output=' 'version' 'h/help'
        case 'latency'
            __irqmux_parse_subcommand 0 'path=' 'wait=' 'device=' 'index=' 'vectors=' 'rate=' 'count=' 'duration=' 'warmup=' 'cpu=' 'assert=+' 'format=' 'output=' 'version' 'h/help'
        case 'serve'
            __irqmux_parse_subcommand 0 'socket=' 'device=' 'once' 'metrics=' 'format=' 'version' 'h/help'
        case 'explain'
            __irqmux_parse_subcommand -r 1 'device=' 'dialect=' 'host-vectors=' 'format=' 'version' 'h/help'
        case 'bind'
            __irqmux_parse_subcommand -r 1 'group' 'version' 'h/help'
        case 'unbind'
            __irqmux_parse_subcommand -r 1 'version' 'h/help'
        case 'mdev'
            __irqmux_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'list'
                __irqmux_parse_subcommand 0 'format=' 'version' 'h/help'
            case 'create'
                __irqmux_parse_subcommand 1 'parent=' 'uuid=' 'version' 'h/help'
            case 'remove'
                __irqmux_parse_subcommand 1 'version' 'h/help'
            end
        case 'sriov'
            __irqmux_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'set'
                __irqmux_parse_subcommand 2 'version' 'h/help'
            end
        case 'help'
            __irqmux_parse_subcommand -r 1 'version'
        end
    end
end

function __irqmux_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __irqmux_parse_subcommand -S -a positional_count
    argparse -s r -- $argv
    set -l option_specs $argv[2..]
    set -l is_repeating_positional $_flag_r
    set -el _flag_r
    set -a commands $unparsed_tokens[1]
    set positional_index 0
    while true
        set -e unparsed_tokens[1]
        argparse -sn "$commands" $option_specs -- $unparsed_tokens 2> /dev/null
        set unparsed_tokens $argv
        set positional_index (math $positional_index + 1)
        for non_repeating_flag_or_option in $non_repeating_flags_or_options
            if set -ql "_flag_$(string replace -a - _ -- $non_repeating_flag_or_option)"
                set non_repeating_flags_or_options_absent 1
                break
            end
        end
        test (count $unparsed_tokens) -eq 0 -o \( -z "$is_repeating_positional" -a "$positional_index" -gt "$positional_count" \) && break
    end
end

function __irqmux_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __irqmux_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__irqmux_tokens -p)
    if test -z "$(__irqmux_tokens -t)"
        set -l index (count (__irqmux_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'irqmux' -f
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'doctor' -d 'Tell what this machine can do, and what to type to mend the rest.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'devices' -d 'List the host\'s PCI functions and mediated devices, and what stands in the way of using them.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'info' -d 'Tell what a device is and which interrupts it has.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'loopback' -d 'Play every interrupt of a device back, and prove that none is lost.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'latency' -d 'Measure how long an interrupt takes from its signal to its handler.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'serve' -d 'Serve the software device over vfio-user, to a VMM or to another irqmux.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'explain' -d 'Tell what VFIO_DEVICE_SET_IRQS requests would do, and why.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'bind' -d 'Give PCI functions to vfio-pci.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'unbind' -d 'Take PCI functions away from VFIO and give them back what they had.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'mdev' -d 'Make, remove and list mediated devices.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'sriov' -d 'Enable virtual functions of a device.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux" -eq 1' -fa 'help' -d 'Show subcommand help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux doctor" vectors' -l 'vectors' -d 'How many vectors are wanted; the limits are checked against them.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux doctor" format' -l 'format' -d 'The form of the report.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux doctor" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux doctor" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" open' -l 'open' -d 'Ask VFIO itself where a function is bound to it.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" no-open' -l 'no-open' -d 'Ask VFIO itself where a function is bound to it.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" all' -l 'all' -d 'List bridges too.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" format' -l 'format' -d 'The form of the report.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux devices" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" device' -l 'device' -d 'The device: software, or with a layout as in software:msix=64,msi=32,intx=1; 0000:01:00.0, or with a token as in 0000:01:00.1,vf_token=UUID; mdev:UUID; vfio-user:/path/to.sock (default: software).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" route' -l 'route' -d 'Where the vectors are routed: handler, parked, guest or detour (default: not connected).' -rfka 'handler parked guest detour'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" index' -l 'index' -d 'Which interrupts --route connects: intx, msi or msix (default: msix).' -rfka 'intx msi msix'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" format' -l 'format' -d 'The form of the report.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux info" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" device' -l 'device' -d 'The device: software, or with a layout as in software:msix=64,msi=32,intx=1; 0000:01:00.0, or with a token as in 0000:01:00.1,vf_token=UUID; mdev:UUID; vfio-user:/path/to.sock (default: software).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" vectors' -l 'vectors' -d 'How many vectors of MSI-X, and of MSI as far as it has them, are tried (default: all).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" storm' -l 'storm' -d 'How many interrupts the storm of each index has (default: 20k).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" seed' -l 'seed' -d 'What the storm draws its vectors from; the same seed draws the same (default: by lot).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" wait' -l 'wait' -d 'How the loop waits.' -rfka 'block spin adaptive'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" format' -l 'format' -d 'The form of the report.' -rfka 'text json tap junit'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" output' -l 'output' -d 'Where the report goes instead of stdout.' -rF
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux loopback" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" path' -l 'path' -d 'Which way the interrupt takes.' -rfka 'eventfd loopback kvm bypass'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" wait' -l 'wait' -d 'How the loop waits.' -rfka 'block spin adaptive'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" device' -l 'device' -d 'The device of loopback and kvm: software, or with a layout as in software:msix=64,msi=32,intx=1; 0000:01:00.0, or with a token as in 0000:01:00.1,vf_token=UUID; mdev:UUID; vfio-user:/path/to.sock (default: software).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" index' -l 'index' -d 'Which interrupts of the device: intx, msi or msix (default: msix).' -rfka 'intx msi msix'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" vectors' -l 'vectors' -d 'How many vectors take turns (default: 1).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" rate' -l 'rate' -d 'How often a signal is due, as in 10k/s.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" count' -l 'count' -d 'How many signals are measured (default: 10k, or as many as --duration has room for).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" duration' -l 'duration' -d 'How long is measured at most, as in 10s.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" warmup' -l 'warmup' -d 'How long signals are sent before measuring begins (default: 100ms).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" cpu' -l 'cpu' -d 'The processors of the receiver, the sender and the guest, in this order, as in 0,1.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency"' -l 'assert' -d 'A threshold, as in \'p99<20us\' or \'lost<1\'; may be given more than once.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" format' -l 'format' -d 'The form of the report.' -rfka 'text json csv hgrm'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" output' -l 'output' -d 'Where the report goes instead of stdout.' -rF
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux latency" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" socket' -l 'socket' -d 'Where clients connect: a path that nothing has yet, or a socket that nobody serves any more.' -rF
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" device' -l 'device' -d 'The device: software, or with a layout as in software:msix=64,msi=32,intx=1 (default: software).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" once' -l 'once' -d 'End when the first client has gone.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" metrics' -l 'metrics' -d 'A file for counters in the text form of Prometheus, fresh each second.' -rF
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" format' -l 'format' -d 'The form of the report at the end.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux serve" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" device' -l 'device' -d 'The software device\'s layout, as in software:msix=64,msi=32,intx=1.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" dialect' -l 'dialect' -d 'Whose rules are followed: linux, linux-6.1 and later, or libvfio-user (default: linux).' -rfka 'linux linux-6.1 linux-6.12 libvfio-user'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" host-vectors' -l 'host-vectors' -d 'How many MSI or MSI-X vectors the host has left for the device (default: 2048).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" format' -l 'format' -d 'The form of the report.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux explain" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux bind" group' -l 'group' -d 'Bind the other functions of the IOMMU group too, bridges excepted.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux bind" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux bind" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux unbind" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux unbind" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux mdev" -eq 1' -fa 'list' -d 'List the types that parents offer, and the mediated devices that exist.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux mdev" -eq 1' -fa 'create' -d 'Make a mediated device and print its name.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux mdev" -eq 1' -fa 'remove' -d 'Remove a mediated device.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev list" format' -l 'format' -d 'The form of the report.' -rfka 'text json'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev list" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev create" parent' -l 'parent' -d 'Whose type, where several parents offer it: a PCI address, or another name as mtty.' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev create" uuid' -l 'uuid' -d 'The UUID it is to have (default: drawn by lot).' -rfka ''
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev create" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev create" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev remove" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux mdev remove" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux sriov" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux sriov" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_positional "irqmux sriov" -eq 1' -fa 'set' -d 'Set how many virtual functions are enabled, and print them.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux sriov set" version' -l 'version' -d 'Show the version.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux sriov set" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'irqmux' -n '__irqmux_should_offer_completions_for_flags_or_options "irqmux help" version' -l 'version' -d 'Show the version.'
