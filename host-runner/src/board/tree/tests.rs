use super::*;

const CAPTURE: &str = r#"{
    "meta": {"board": "synthetic"},
    "files": {"/sys/devices/a/name": "ina3221\n", "/sys/devices/a/value": "12345\n", "/etc/secret": "in\n"},
    "links": {"/sys/class/hwmon/hwmon7": "/sys/devices/a", "/sys/class/up": "../devices/../devices/a", "/loop": "/loop"},
    "errors": {"/sys/devices/a/temp": "EAGAIN", "/sys/devices/a/rate": "EACCES", "/sys/devices/a/odd": "EWHAT"}
}"#;

fn text(tree: &dyn FileTree, path: &str) -> Result<String, TreeError> {
    let mut buffer = [0; 64];
    let length = tree.read(Path::new(path), &mut buffer)?;
    Ok(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

/// The same files and links in a real folder whose links are absolute, as on a board.
fn unpacked() -> (tempfile::TempDir, RealTree) {
    let folder = tempfile::tempdir().unwrap();
    CapturedTree::parse(CAPTURE).unwrap().unpack(folder.path()).unwrap();
    let tree = RealTree::new(folder.path()).unwrap();
    (folder, tree)
}

#[test]
fn both_trees_answer_alike() {
    let captured = CapturedTree::parse(CAPTURE).unwrap();
    let (_folder, real) = unpacked();
    for tree in [&captured as &dyn FileTree, &real] {
        assert_eq!(text(tree, "/sys/class/hwmon/hwmon7/name").unwrap(), "ina3221\n");
        assert_eq!(text(tree, "/sys/class/up/value").unwrap(), "12345\n");
        assert_eq!(text(tree, "/sys/nowhere"), Err(TreeError::NotFound));
        assert_eq!(text(tree, "/sys/devices/a/name/below"), Err(TreeError::NotFound));
        assert_eq!(text(tree, "/sys/devices/a"), Err(Errno::ISDIR.into()));
        assert_eq!(text(tree, "/loop"), Err(Errno::LOOP.into()));
        assert_eq!(tree.list(Path::new("/sys/class/hwmon")).unwrap(), ["hwmon7"]);
        assert_eq!(tree.list(Path::new("/sys/none")), Err(TreeError::NotFound));
        assert!(tree.exists(Path::new("/sys/class/hwmon/hwmon7/value")));
        assert!(tree.exists(Path::new("/")));
        assert!(!tree.exists(Path::new("/sys/class/hwmon/hwmon8")));
        assert!(!tree.exists(Path::new("/loop")));
        assert_eq!(tree.link(Path::new("/sys/class/hwmon/hwmon7")).unwrap(), Path::new("/sys/devices/a"));
        assert_eq!(tree.link(Path::new("/sys/devices/a")), Err(Errno::INVAL.into()));
        let real_path = Path::new("/sys/devices/a/value");
        assert_eq!(resolve(tree, Path::new("/sys/class/up/value")).unwrap(), real_path);
        assert_eq!(resolve(tree, Path::new("/sys/class/hwmon/hwmon7/value")).unwrap(), real_path);
        assert_eq!(resolve(tree, Path::new("/loop/x")), Err(Errno::LOOP.into()));
        let mut short = [0; 3];
        assert_eq!(tree.read(real_path, &mut short).unwrap(), 3);
        assert_eq!(&short, b"123");
    }
}

#[test]
fn errors_of_a_capture_keep_their_kind() {
    let tree = CapturedTree::parse(CAPTURE).unwrap();
    assert_eq!(text(&tree, "/sys/devices/a/temp"), Err(TreeError::Again));
    assert_eq!(text(&tree, "/sys/class/hwmon/hwmon7/rate"), Err(TreeError::Denied));
    assert_eq!(text(&tree, "/sys/devices/a/odd"), Err(TreeError::Io(Errno::IO.raw_os_error())));
    assert!(tree.exists(Path::new("/sys/devices/a/rate")), "what fails is there");
    assert_eq!(tree.write(Path::new("/etc/secret"), "1"), Err(Errno::ROFS.into()));
    for (json, part) in [
        (r#"{"files": []}"#, "not a captured tree"),
        (r#"{"files": {"sys/x": ""}}"#, "not absolute"),
        (r#"{"files": {"/sys/x": "", "/sys/x/y": ""}}"#, "at once"),
        (r#"{"files": {"/sys/x/y": ""}, "links": {"/sys/x": "/z"}}"#, "at once"),
    ] {
        let message = CapturedTree::parse(json).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn nothing_outside_the_root_is_reached() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("treasure"), "gold").unwrap();
    let (folder, tree) = unpacked();
    let target = outside.path().join("treasure");
    std::os::unix::fs::symlink(&target, folder.path().join("absolute")).unwrap();
    let up = format!("{}{}", "../".repeat(20), target.strip_prefix("/").unwrap().display());
    std::os::unix::fs::symlink(&up, folder.path().join("relative")).unwrap();
    for path in ["/absolute".to_owned(), "/relative".to_owned(), format!("/{up}"), target.display().to_string()] {
        assert_eq!(text(&tree, &path), Err(TreeError::NotFound), "{path}");
        assert_eq!(tree.write(Path::new(&path), "x"), Err(TreeError::NotFound), "{path}");
        assert!(!tree.exists(Path::new(&path)), "{path}");
        assert!(!tree.exists(&resolve(&tree, Path::new(&path)).unwrap()), "{path}");
    }
    assert_eq!(std::fs::read_to_string(target).unwrap(), "gold");
}

#[test]
fn a_write_replaces_and_never_creates() {
    let (folder, tree) = unpacked();
    tree.write(Path::new("/sys/class/hwmon/hwmon7/value"), "306000000").unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("sys/devices/a/value")).unwrap(), "306000000");
    assert_eq!(tree.write(Path::new("/sys/devices/a/new"), "1"), Err(TreeError::NotFound));
    assert_eq!(RealTree::new(&folder.path().join("none")).unwrap_err(), TreeError::NotFound);
    assert_eq!(TreeError::from(std::io::Error::from(Errno::AGAIN)), TreeError::Again);
}

#[test]
fn the_whole_system_is_a_tree() {
    let tree = RealTree::system().unwrap();
    assert!(text(&tree, "/proc/self/statm").unwrap().ends_with('\n'));
    assert!(tree.exists(Path::new("/proc/self/exe")));
}
