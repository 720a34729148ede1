# Makes reference values of competing exits: Aalen-Johansen errors by cluster, errors of predicted incidences.
#   Rscript tests/reference/make_competing_more.R
# Debian packages: r-base-core, r-cran-survival, r-cran-riskregression (last run with survival 3.5-3,
# riskRegression 2022.11.28). Reads competing_sim.csv, competing_mgus2.csv,
# competing_rows.csv; writes competing_more_values.csv.
suppressMessages({library(survival); library(riskRegression); library(prodlim)})
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
exact <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term = as.character(term), other = as.character(other),
                                        value = sprintf("%.17g", value))
sim <- read.csv(file.path(folder, "competing_sim.csv"))
m <- read.csv(file.path(folder, "competing_mgus2.csv"))
rows <- read.csv(file.path(folder, "competing_rows.csv"))
sim$f <- factor(sim$cause); m$f <- factor(m$cause); rows$f <- factor(rows$cause)
sim$g <- sim$id %% 11; m$g <- m$id %% 13; rows$g <- rows$id %% 13

curves <- function(model, fit, times, group = "all") {
  s <- summary(fit, times = times, extend = TRUE)
  strata <- if (is.null(s$strata)) rep(group, length(s$time)) else sub(".*=", "", as.character(s$strata))
  for (k in seq_along(s$time)) for (c in seq_along(fit$states)) {
    other <- paste(if (c == 1) "free" else fit$states[c], format(s$time[k], digits = 15), sep = "@")
    add(model, "estimate", trimws(strata[k]), other, s$pstate[k, c])
    add(model, "std_error", trimws(strata[k]), other, s$std.err[k, c])
  }
}
# survfit of survival 3.5-3 leaves cluster= aside where id= is given and there are several states, so its influence matrix is summed here.
by_cluster <- function(model, response, d, times, weighted = FALSE, group = "all") {
  d$w <- if (weighted) d$weight else 1
  f <- as.formula(paste(response, "~ 1"))
  fit <- survfit(f, d, id = id, weights = w, influence = TRUE)
  i <- fit$influence.pstate
  # Its first slice is time 0; its rows are the subjects in order, one row each where there are weights.
  if (weighted) i <- i * d$weight[order(d$id)]
  stopifnot(max(abs(sqrt(apply(i^2, 2:3, sum))[-1, ] - fit$std.err)) < 1e-12)
  owner <- d$g[match(sort(unique(d$id)), d$id)]
  for (t in times) {
    k <- max(which(fit$time <= t))
    se <- sqrt(colSums(rowsum(i[, k + 1, ], owner)^2))
    for (c in seq_along(fit$states)) {
      other <- paste(if (c == 1) "free" else fit$states[c], format(t, digits = 15), sep = "@")
      add(model, "estimate", group, other, fit$pstate[k, c])
      add(model, "std_error", group, other, se[c])
    }
  }
}
long <- c(2, 10, 50, 100, 200, 300)
few <- c(1, 3, 8, 15)
by_cluster("aj_cluster", "Surv(tied, f)", sim, few)
by_cluster("aj_cluster_weights", "Surv(tied, f)", sim, few, weighted = TRUE)
for (s in 0:1) by_cluster("aj_cluster_groups", "Surv(time, f)", m[m$female == s, ], long, group = s)
by_cluster("aj_cluster_entry", "Surv(entry, time, f)", m, long)
for (s in 0:1) by_cluster("aj_cluster_rows", "Surv(start, stop, f)", rows[rows$female == s, ], long, group = s)
# One group without any exit for cause 2, and exits for both causes at the same times.
edge <- sim[!(sim$group == "a" & sim$cause == 2), ]
curves("aj_edge", survfit(Surv(tied, f) ~ group, edge, id = id), few)

# One cause only: 1 - survfit.coxph, errors by its delta method.
new <- data.frame(x1 = c(0.3, 0.9), x2 = c(0, 1))
for (ties in c("breslow", "efron")) for (robust in c(FALSE, TRUE)) {
  fit <- if (robust) coxph(Surv(tied, cause == 1) ~ x1 + x2, sim, ties = ties, control = exact, cluster = g)
         else coxph(Surv(tied, cause == 1) ~ x1 + x2, sim, ties = ties, control = exact)
  s <- survfit(fit, newdata = new)
  for (t in few) for (j in 1:2) {
    k <- max(which(s$time <= t))
    add(paste("one_cause", ties, robust, sep = "_"), "estimate", j, t, 1 - s$surv[k, j])
    add(paste("one_cause", ties, robust, sep = "_"), "std_error", j, t, s$std.err[k, j] * s$surv[k, j])
  }
}

# Fine-Gray on expanded data.
for (ties in c("breslow", "efron")) for (robust in c(FALSE, TRUE)) {
  g <- finegray(Surv(tied, f) ~ ., sim[c("id", "tied", "f", "x1", "x2", "g")], etype = "1", id = id)
  fit <- if (robust) coxph(Surv(fgstart, fgstop, fgstatus) ~ x1 + x2, g, weights = fgwt, cluster = g, ties = ties, control = exact)
         else coxph(Surv(fgstart, fgstop, fgstatus) ~ x1 + x2, g, weights = fgwt, cluster = id, ties = ties, control = exact)
  s <- survfit(fit, newdata = new)
  for (t in few) for (j in 1:2) {
    k <- max(which(s$time <= t))
    add(paste("fg", ties, robust, sep = "_"), "estimate", j, t, 1 - s$surv[k, j])
    add(paste("fg", ties, robust, sep = "_"), "std_error", j, t, s$std.err[k, j] * s$surv[k, j])
  }
}

# Two causes: riskRegression's incidences (the product of 1 - h) and its errors from the influence function.
fit <- CSC(Hist(time, cause) ~ x1 + x2, data = sim, method = "breslow", control = exact)
for (c in 1:2) {
  p <- predict(fit, newdata = new, cause = c, times = c(0.1, 0.5, 1, 2), se = TRUE, product.limit = TRUE, band = FALSE,
               keep.newdata = FALSE)
  for (j in 1:2) for (k in 1:4) {
    add("csc", "estimate", j, paste(c, k, sep = "@"), p$absRisk[j, k])
    add("csc", "std_error", j, paste(c, k, sep = "@"), p$absRisk.se[j, k])
  }
}
write.csv(do.call(rbind, out), file.path(folder, "competing_more_values.csv"), row.names = FALSE, quote = FALSE)
