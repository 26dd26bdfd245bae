"""`sysmut completion SHELL`: the scripts by which bash, zsh and fish ask click what may come next.

They speak the protocol of click.shell_completion, with what its own scripts lack: what goes wrong is not written into
the prompt; bash's splitting of words at `=`, `:` and `@` is undone; the value behind `--option=` is completed in zsh
and fish too; and colons and commas are heeded. The word to complete is handed over as the last one, whatever number
it has (COMP_CWORD=-1), so that the cursor may stand in the middle of the line.
"""

import click

from sysmut.cli.frame import Console

_BASH = r"""# Completes sysmut and syscln in bash (4.4 or newer). In ~/.bashrc:
#     source <(sysmut completion bash)
# or, where bash-completion is installed, this as the files sysmut and syscln
# in /usr/local/share/bash-completion/completions.

_sysmut_complete() {
    local line=${COMP_LINE:0:COMP_POINT} known type value
    local word=${line##*[[:space:]]}
    # The part before $COMP_WORDBREAKS, which bash leaves as it is.
    known=${word%"$2"}
    [[ -n $word ]] || line+="''"
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("${value#"$known"}") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=-1 \
        _SYSMUT_COMPLETE=bash_complete _SYSCLN_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _sysmut_complete sysmut syscln
"""

_ZSH = r"""#compdef sysmut syscln
# Completes sysmut and syscln in zsh. In ~/.zshrc, after compinit:
#     source <(sysmut completion zsh)
# or this as the file _sysmut in a directory of $fpath, as /usr/local/share/zsh/site-functions.

_sysmut() {
    local -a answer found
    local type value help
    answer=("${(@f)$(env COMP_WORDS="${(j: :)words[1,CURRENT-1]} ${PREFIX:-''}" COMP_CWORD=-1 \
        _SYSMUT_COMPLETE=zsh_complete _SYSCLN_COMPLETE=zsh_complete "${(Q)words[1]}" 2>/dev/null)}")
    [[ $PREFIX != --*=* ]] || compset -P 1 '*='
    for type value help in "${(@)answer}"; do
        value=${value//\\:/:}
        case $type in
            plain) found+=("${value//:/\\:}:${help#_}") ;;
            dir) _files -/ ;;
            file) _files ;;
        esac
    done
    (( ! $#found )) || _describe -V 'sysmut' found
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _sysmut "$@"
else
    compdef _sysmut sysmut syscln
fi
"""

_FISH = r"""# Completes sysmut and syscln in fish. In ~/.config/fish/config.fish:
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
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Shell -> its script for both programs."""


@click.command("completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print what makes a shell complete sysmut's command lines.

    SHELL is bash, zsh or fish; the first lines of what is printed say where it goes. Names of generations are completed
    for root only.
    """
    console = Console()
    for line in SCRIPTS[shell].splitlines():
        console.data(line)
