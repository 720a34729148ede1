# Makes the reference values of Cox models with shared frailty, with R's survival package.
#   Rscript tests/reference/make_frailty.R      (Debian packages r-base-core, r-cran-survival; last run with survival 3.5-3)
# Reads frailty_models.csv and data/*.csv, writes frailty_values.csv.
#
# At a given theta R is run twice: with sparse = FALSE its Newton steps are exact, so the coefficients, frailties
# and likelihoods are good to rounding; with sparse = TRUE (R's rule for more than five clusters) come the standard
# errors that R prints, at coefficients that its approximate steps leave about 1e-8 off.
#
# frailty() itself looks for a gamma theta until the log-likelihood stands still, hence to the square root of
# its tolerance at best ("theta_coxph"). "theta" is therefore the maximum of R's profile likelihood found here by
# Newton's method on central differences.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
exact <- coxph.control(eps = 1e-12, toler.chol = 1e-13, iter.max = 300, outer.max = 100)
slow <- suppressWarnings(coxph.control(eps = 1e-15, toler.chol = 1e-13, iter.max = 3000, outer.max = 100))
models <- read.csv(file.path(folder, "frailty_models.csv"), colClasses = "character")
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))

for (i in seq_len(nrow(models))) {
  spec <- models[i, ]
  d <- read.csv(file.path(folder, "data", paste0(spec$data, ".csv")))
  if (spec$subset != "") d <- d[d[[spec$subset]] == 1, ]
  d$.cluster <- d[[spec$cluster]]
  fit_at <- function(theta, sparse, control = exact) {
    text <- paste0(spec$formula, " + frailty(.cluster, distribution = '", spec$distribution, "', theta = ",
                   sprintf("%.17g", theta), ", sparse = ", sparse, ")")
    coxph(as.formula(text), d, ties = spec$ties, control = control)
  }
  cox <- coxph(as.formula(spec$formula), d, ties = spec$ties, control = exact)
  profile <- function(theta) fit_at(theta, FALSE)$history[[1]]$c.loglik
  theta <- as.numeric(spec$theta)
  free <- spec$theta == ""
  if (free && spec$distribution == "gamma") {
    text <- paste(spec$formula, "+ frailty(.cluster, eps = 1e-9)")
    theta <- suppressWarnings(coxph(as.formula(text), d, ties = spec$ties, control = exact))$history[[1]]$history
    theta <- theta[which.max(theta[, 3]), 1]
    add(spec$model, "theta_coxph", "", "", theta)
    for (step in 1:3) {
      h <- 0.01 * theta
      f <- sapply(theta + (-2:2) * h, profile)
      theta <- theta - (f[1] - 8 * f[2] + 8 * f[4] - f[5]) / (12 * h) /
        ((-f[1] + 16 * f[2] - 30 * f[3] + 16 * f[4] - f[5]) / (12 * h^2))
    }
    top <- profile(theta)
    statistic <- 2 * (top - cox$loglik[2])
    add(spec$model, "lr", "", "", statistic)
    add(spec$model, "lr_p", "", "", 0.5 * pchisq(statistic, 1, lower.tail = FALSE))
    below <- function(x) profile(x) - top + qchisq(0.9, 1) / 2
    low <- if (2 * (top - cox$loglik[2]) > qchisq(0.9, 1)) uniroot(below, c(theta / 100, theta), tol = 1e-12)$root else 0
    add(spec$model, "low_90", "", "", low)
    add(spec$model, "high_90", "", "", uniroot(below, c(theta, 1.5 * theta), extendInt = "downX", tol = 1e-12)$root)
  }
  if (free && spec$distribution == "gaussian") {
    p <- length(coef(cox))
    for (sparse in c(TRUE, FALSE)) {
      text <- paste0(spec$formula, " + frailty(.cluster, distribution = 'gaussian', eps = 1e-5, sparse = ", sparse, ")")
      found <- coxph(as.formula(text), d, ties = spec$ties, control = exact)$history[[1]]$history
      found <- found[nrow(found), 1]
      # The equation that frailty.controlgauss solves, solved again to rounding.
      equation <- function(theta) {
        fit <- fit_at(theta, sparse, if (sparse) slow else exact)
        w <- if (sparse) fit$frail else coef(fit)[-seq_len(p)]
        v <- if (sparse) fit$fvar else diag(fit$var)[-seq_len(p)]
        sum((w - mean(w))^2) / (length(w) - sum(v) / theta) - theta
      }
      root <- uniroot(equation, found * c(0.98, 1.02), extendInt = "yes", tol = 1e-13)$root
      add(spec$model, if (sparse) "theta_coxph" else "theta_coxph_full", "", "", found)
      add(spec$model, if (sparse) "theta" else "theta_full", "", "", root)
      if (sparse) theta <- root
    }
  } else {
    add(spec$model, "theta", "", "", theta)
  }
  full <- fit_at(theta, FALSE)
  p <- length(coef(cox))
  terms <- names(coef(cox))
  levels <- sort(unique(d$.cluster))
  for (a in seq_len(p)) {
    add(spec$model, "coef", terms[a], "", coef(full)[a])
    add(spec$model, "std_error_full", terms[a], "", sqrt(full$var[a, a]))
  }
  frail <- coef(full)[p + seq_along(levels)]
  # The gamma frailties have mean 1, the gaussian log-frailties mean 0; coxph leaves a common shift in them.
  frail <- frail - if (spec$distribution == "gamma") log(mean(exp(frail))) else mean(frail)
  for (a in seq_along(levels)) add(spec$model, "log_frailty", "", levels[a], frail[a])
  add(spec$model, "loglik_null", "", "", cox$loglik[1])
  add(spec$model, "loglik_cox", "", "", cox$loglik[2])
  add(spec$model, "loglik_partial", "", "", full$loglik[2])
  if (spec$distribution == "gamma") add(spec$model, "loglik", "", "", full$history[[1]]$c.loglik)
  if (length(levels) > 5) {
    sparse <- fit_at(theta, TRUE, slow)
    for (a in seq_len(p)) {
      add(spec$model, "std_error", terms[a], "", sqrt(sparse$var[a, a]))
      add(spec$model, "std_error_gray", terms[a], "", sqrt(sparse$var2[a, a]))
    }
    for (a in seq_along(levels)) add(spec$model, "log_frailty_var", "", levels[a], sparse$fvar[a])
    add(spec$model, "df_frailty", "", "", sparse$df[length(sparse$df)])
  }
}

# Case weights: R's sparse frailty ignores them in the information, so each row stands as often as its weight.
d <- read.csv(file.path(folder, "data", "kidney.csv"))
d <- d[rep(seq_len(nrow(d)), 1 + seq_len(nrow(d)) %% 3), ]
for (distribution in c("gamma", "gaussian")) {
  model <- paste0("kidney_rows_", distribution)
  f <- function(sparse)
    coxph(Surv(time, status) ~ age + female + frailty(id, distribution = distribution, theta = 0.3, sparse = sparse),
          d, ties = "breslow", control = if (sparse) slow else exact)
  full <- f(FALSE)
  sparse <- f(TRUE)
  for (a in 1:2) {
    add(model, "coef", c("age", "female")[a], "", coef(full)[a])
    add(model, "std_error", c("age", "female")[a], "", sqrt(sparse$var[a, a]))
  }
  if (distribution == "gamma") add(model, "loglik", "", "", full$history[[1]]$c.loglik)
}
write.csv(do.call(rbind, out), file.path(folder, "frailty_values.csv"), row.names = FALSE, quote = FALSE)
