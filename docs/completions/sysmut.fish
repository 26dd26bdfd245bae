# Completes sysmut and syscln in fish. In ~/.config/fish/config.fish:
#     sysmut completion fish | source
# or this as the files sysmut.fish and syscln.fish in ~/.config/fish/completions.

function __sysmut_complete
    set -l line (commandline -cp | string collect)
    set -l word (commandline -ct | string collect)
    set -l program (commandline -opc)[1]
    set -l known (string match -r -- '^--[^=]*=' "$word"; or echo '')
    set -l rest (string replace -- "$known" '' "$word")
    for answer in (env COMP_WORDS="$line" COMP_CWORD="$word" \
            _SYSMUT_COMPLETE=fish_complete _SYSCLN_COMPLETE=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $answer)
        switch $parts[1]
            case plain
                echo $known$parts[2]
            case dir
                printf "$known%s\n" (__fish_complete_directories "$rest")
            case file
                printf "$known%s\n" (__fish_complete_path "$rest")
        end
    end
end

complete --command sysmut --command syscln --no-files --keep-order --arguments '(__sysmut_complete)'
