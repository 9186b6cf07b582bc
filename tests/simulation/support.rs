//! The fakes of `tests/it` that stand at a real border, used here over the simulated network.

#[expect(dead_code, reason = "tests/it uses what is not used here")]
#[path = "../it/support/apiserver.rs"]
pub(crate) mod apiserver;
#[expect(dead_code, reason = "tests/it uses what is not used here")]
#[path = "../it/support/kubelet.rs"]
pub(crate) mod kubelet;
#[expect(dead_code, reason = "tests/it uses what is not used here")]
#[path = "../it/support/oracle.rs"]
pub(crate) mod oracle;
