package lockfile

// Windows has no pipes among its files, and few may make links there.
const NoFollow, NoWait = 0, 0
