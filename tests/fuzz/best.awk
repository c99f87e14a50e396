# Of libFuzzer's control file of a set-cover merge, the names of those files that together reach most of what the files below the directory
# `corpus` do not: the one that adds most first, at most `most` of them.
/^(STARTED|FT|COV) / {
    if ($1 != "COV") next
    for (i = 3; i <= NF; i++)
        if (index(name[$2], corpus "/") == 1) covered[$i] = 1
        else reached[$2] = reached[$2] " " $i
    next
}
FNR > 2 { name[files++] = $0 }
END {
    while (most-- > 0) {
        best = 0
        for (file in reached) {
            count = split(reached[file], edges, " ")
            added = 0
            for (i = 1; i <= count; i++) added += !(edges[i] in covered)
            if (added > best) { best = added; chosen = file }
        }
        if (best == 0) exit
        print name[chosen]
        count = split(reached[chosen], edges, " ")
        for (i = 1; i <= count; i++) covered[edges[i]] = 1
        delete reached[chosen]
    }
}
