//! What must cross workers: errands. Every worker has one bounded channel of them; whoever has a question about all
//! clients sends the same errand to each worker and gathers what comes back, within a deadline. The errand runs on
//! the worker's own thread, between two of its tasks, so that nothing a worker owns is ever shared.

use super::SessionContext;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Errands that wait for one worker. Whoever sends one more waits for room.
const ERRANDS_MAX: usize = 64;

/// How long all workers together may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is done once on a worker's thread.
pub type Errand = Box<dyn FnOnce(&SessionContext) + Send>;

/// The errands of one worker; owned by it.
pub type Errands = mpsc::Receiver<Errand>;

/// How to reach all workers. Cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    workers: Arc<[mpsc::Sender<Errand>]>,
}

/// Not every worker has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The deadline is over.
    #[error("a worker was too busy to answer within 5 seconds; try again")]
    Late,
    /// A worker has ended: the proxy is going down.
    #[error("slotway is shutting down; connect again")]
    Ended,
}

impl Mailbox {
    /// A mailbox for so many workers, and what each of them empties.
    pub fn new(workers: usize) -> (Self, Vec<Errands>) {
        let (senders, receivers): (Vec<_>, _) =
            (0..workers).map(|_| mpsc::channel(ERRANDS_MAX)).unzip();
        let workers = senders.into();
        (Self { workers }, receivers)
    }

    /// Asks every worker and gathers the answers, in the order of the workers. All are asked at once.
    pub async fn ask<T, F>(&self, question: F) -> Result<Vec<T>, Unanswered>
    where
        T: Send + 'static,
        F: Fn(&SessionContext) -> T + Send + Sync + 'static,
    {
        let answers = self.gather(Arc::new(question));
        match tokio::time::timeout(ANSWER_MAX, answers).await {
            Ok(answers) => answers,
            Err(_) => Err(Unanswered::Late),
        }
    }

    fn gather<T, F>(&self, question: Arc<F>) -> impl Future<Output = Result<Vec<T>, Unanswered>>
    where
        T: Send + 'static,
        F: Fn(&SessionContext) -> T + Send + Sync + 'static,
    {
        let workers = self.workers.clone();
        async move {
            let mut pending = Vec::with_capacity(workers.len());
            for worker in workers.iter() {
                let (answer, answered) = oneshot::channel();
                let question = question.clone();
                let errand: Errand = Box::new(move |context| {
                    // Whoever asked may have given up.
                    let _ = answer.send(question(context));
                });
                worker.send(errand).await.map_err(|_| Unanswered::Ended)?;
                pending.push(answered);
            }
            let mut answers = Vec::with_capacity(pending.len());
            for answered in pending {
                answers.push(answered.await.map_err(|_| Unanswered::Ended)?);
            }
            Ok(answers)
        }
    }
}
