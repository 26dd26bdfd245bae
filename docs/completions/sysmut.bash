# Completes sysmut and syscln in bash (4.4 or newer). In ~/.bashrc:
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
